# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
#
# The downstream experiment, called by `make experiment`: every arm of training for every seed, then the tables. The bi-level
# arms of a seed share frozen task networks and warm-up, in which they do not differ. What is done already is not done again, and a
# training that was interrupted goes on after its last epoch.
#
#   RUN      python with the bundle's packages     DATA     data set with a datalist.json
#   OUTPUT   folder of arms and tables             ARGS     further settings of train.yaml
#   SEEDS    of trainings                          OVERLAY  further configuration, such as configs/classification.yaml
#   COSTS    folder of measured costs, for the table
#   COMPARE_ARGS  further settings of downstream.yaml

SEEDS ?= 0 1 2
ARMS ?= separate first_order finite_difference unrolled

# One thread each: several trainings share the cores.
export OMP_NUM_THREADS := 1

OVERLAY ?=
comma := ,
empty :=
listed = $(subst $(empty) $(empty),$(comma),$(strip $(1)))
CONFIGS := 'configs/train.yaml'$(OVERLAY:%=$(comma)'%')
# The limits of inference's report are not asked for here: `calibrating` makes them for an arm that is to be used.
TRAIN = cd bundle && $(RUN) -m monai.bundle run training --config_file "[$(CONFIGS)]" --dataset_dir $(DATA) \
	--mlflow False --num_workers 0 --calibrates False $(ARGS) --output_dir $(@D) --model_dir $(@D)
GOES_ON = --resume $$(test -f $(@D)/checkpoint.pt && echo True || echo False)
# A failure shows the end of its log.
FAILED = { tail -3 $(@D)/log.txt >&2; false; }
LOGGED = > $(@D)/log.txt 2>&1 || $(FAILED)
# A training that was interrupted after its last epoch says that it is complete.
TRAINED = > $(@D)/log.txt 2>&1 || grep -q 'epochs already' $(@D)/log.txt || $(FAILED)
DOWNSTREAM = --config_file "[$(CONFIGS),'configs/downstream.yaml']" --dataset_dir $(DATA) --output_dir $(OUTPUT) \
	--arms_dir $(OUTPUT)/arms --mlflow False --arms "[$(call listed,$(ARMS:%='%'))]" $(ARGS) $(COMPARE_ARGS)
COMPARE = cd bundle && $(RUN) -m monai.bundle run downstream $(DOWNSTREAM)

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: tables always

tables: $(SEEDS:%=$(OUTPUT)/compared/seed%/.compared)
	$(COMPARE) --seeds "[$(call listed,$(SEEDS))]" $(COSTS:%=--costs_dir %)

# What the arms were trained with, and on: they are trained anew where it has changed.
$(OUTPUT)/settings.txt: always
	@mkdir -p $(@D)
	@{ echo '$(OVERLAY) $(ARGS)'; \
		cat bundle/configs/train.yaml $(OVERLAY:%=bundle/%) $(DATA)/datalist.json | cksum; } > $@.now
	@if cmp -s $@.now $@; then rm $@.now; else mv $@.now $@; fi

UNKNOWN_ARMS := $(filter-out separate first_order finite_difference unrolled implicit,$(ARMS))
ifneq ($(UNKNOWN_ARMS),)
$(error ARMS are separate, first_order, finite_difference, unrolled and implicit, not $(UNKNOWN_ARMS))
endif

# Missing labels, and most of what can be wrong with settings, are told before the first training, not after the last.
$(OUTPUT)/.checked: $(OUTPUT)/settings.txt
	@cd bundle && $(RUN) -m monai.bundle run checking $(DOWNSTREAM) $(LOGGED)
	@touch $@

$(OUTPUT)/compared/seed%/.compared: $(ARMS:%=$(OUTPUT)/arms/%/seed%/.trained)
	@mkdir -p $(@D)
	$(COMPARE) --seeds "[$*]" $(LOGGED)
	touch $@

# What earlier settings left is nothing to go on from, and not to be taken for what these leave. Earlier logs are kept.
ONLY_NEWER = @mkdir -p $(@D); if test $(@D)/checkpoint.pt -nt $<; \
	then test ! -f $(@D)/log.txt || cat $(@D)/log.txt >> $(@D)/log-before.txt; \
	else cd $(@D) && rm -f checkpoint.pt model.pt model.json downstream.pt log-before.txt; fi

$(OUTPUT)/warmup/seed%/.trained: $(OUTPUT)/.checked
	$(ONLY_NEWER)
	$(TRAIN) --seed $* --pause_after @warmup_epochs $(GOES_ON) $(TRAINED)
	touch $@

LEFT_A_NETWORK = test -f $(@D)/model.pt || \
	{ echo "$(@D): the training left no model.pt, see log.txt; remove checkpoint.pt to train anew" >&2; false; }

$(OUTPUT)/arms/separate/seed%/.trained: $(OUTPUT)/.checked
	$(ONLY_NEWER)
	$(TRAIN) --seed $* --hypergradient none $(GOES_ON) $(TRAINED)
	@$(LEFT_A_NETWORK)
	touch $@

# Without a warm-up there is none to share.
SHARED := $(if $(filter --warmup_epochs=0,$(subst --warmup_epochs 0,--warmup_epochs=0,$(strip $(ARGS)))),,warmup)

define BILEVEL_ARM
$(OUTPUT)/arms/$(1)/seed%/.trained: $(if $(SHARED),$(OUTPUT)/warmup/seed%/.trained,$(OUTPUT)/.checked)
	$$(ONLY_NEWER)
	$(if $(SHARED),cd $$(@D) && test -f checkpoint.pt || { cp $$(<D)/checkpoint.pt copied.pt && mv copied.pt checkpoint.pt; })
	$$(TRAIN) --seed $$* --hypergradient $(1) $$(GOES_ON) $$(TRAINED)
	@$$(LEFT_A_NETWORK)
	touch $$@
endef
$(foreach arm,$(filter-out separate,$(ARMS)),$(eval $(call BILEVEL_ARM,$(arm))))
